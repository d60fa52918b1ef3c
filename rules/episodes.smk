# episodes: verified lists -> test and labelled episodes; regions -> pseudo-episodes. All are files.


rule all_episodes:
    input:
        plan.episode_files,


# One job draws all folds and seeds: starting a process costs more than drawing.
rule draw_test_episodes:
    input:
        test_index,
    output:
        collect(
            "results/{{experiment}}/episodes/test/{{dataset}}/fold{fold}-{{shot}}shot-seed{seed}.h5",
            fold=experiment.tables.folds,
            seed=range(plan.test_seeds),
        ),
    log:
        "results/{experiment}/logs/episodes/test-{dataset}-{shot}shot.log",
    benchmark:
        "results/{experiment}/benchmarks/episodes/test-{dataset}-{shot}shot.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/draw_test_episodes.py"),
        draw=lookup(dpath="episodes/draw", within=settings),
        episodes=lookup(dpath="datasets/{dataset}/test_episodes", within=settings),
        min_area=lookup(dpath="datasets/{dataset}/min_class_area", within=settings),
        rare_classes=lookup(dpath="datasets/{dataset}/rare_classes", within=settings),
    script:
        "../workflow_scripts/draw_test_episodes.py"


rule draw_pseudo_episodes:
    input:
        manifests=pool_manifests,
        masks=pool_masks,
        indexes=episode_indexes,
    output:
        episodes="results/{experiment}/episodes/train/{pool}/unsup-{fold}-seed{seed}.h5",
        manifest="results/{experiment}/episodes/train/{pool}/unsup-{fold}-seed{seed}.json",
    log:
        "results/{experiment}/logs/episodes/train-{pool}-unsup-{fold}-seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/episodes/train-{pool}-unsup-{fold}-seed{seed}.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/draw_pseudo_episodes.py"),
        support_fraction=lookup(dpath="episodes/support_fraction", within=settings),
        support_cap=lookup(dpath="episodes/support_cap", within=settings),
        small_cluster=lookup(dpath="episodes/small_cluster", within=settings),
        max_border=lookup(dpath="episodes/max_border", within=settings),
        areas=fold_areas,
        length=training_length,
    script:
        "../workflow_scripts/draw_pseudo_episodes.py"


rule draw_split_episodes:
    input:
        manifests=saliency_manifests,
        masks=saliency_masks,
        indexes=episode_indexes,
    output:
        episodes="results/{experiment}/episodes/train/{pool}/saliency-{fold}-seed{seed}.h5",
        manifest="results/{experiment}/episodes/train/{pool}/saliency-{fold}-seed{seed}.json",
    log:
        "results/{experiment}/logs/episodes/train-{pool}-saliency-{fold}-seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/episodes/train-{pool}-saliency-{fold}-seed{seed}.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/draw_split_episodes.py"),
        areas=fold_areas,
        length=split_length,
    script:
        "../workflow_scripts/draw_split_episodes.py"


rule draw_base_episodes:
    input:
        "results/{experiment}/data/{dataset}/train.json",
    output:
        episodes="results/{experiment}/episodes/train/{dataset}/sup-{fold}-labels{ratio}-seed{seed}.h5",
        manifest="results/{experiment}/episodes/train/{dataset}/sup-{fold}-labels{ratio}-seed{seed}.json",
    log:
        "results/{experiment}/logs/episodes/train-{dataset}-sup-{fold}-labels{ratio}-seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/episodes/train-{dataset}-sup-{fold}-labels{ratio}-seed{seed}.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/draw_base_episodes.py"),
        novel_images=lookup(dpath="episodes/novel_images", within=settings),
        min_area=lookup(dpath="datasets/{dataset}/min_class_area", within=settings),
        lengths=labels_length,
    script:
        "../workflow_scripts/draw_base_episodes.py"
