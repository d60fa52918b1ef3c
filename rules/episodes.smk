# episodes: verified lists -> test and labelled episodes; regions -> pseudo-episodes. All are files.


rule all_episodes:
    input:
        plan.episode_files,


# One job draws all folds and seeds: starting a process costs more than drawing.
rule draw_test_episodes:
    input:
        lambda wildcards: plan.paths.test_index(wildcards.dataset),
    output:
        episodes=collect(
            "results/{{experiment}}/episodes/test/{{dataset}}/fold{fold}-{{shot}}shot-seed{seed}.h5",
            fold=experiment.tables.folds,
            seed=range(plan.runs.test_seeds),
        ),
        manifests=collect(
            "results/{{experiment}}/episodes/test/{{dataset}}/fold{fold}-{{shot}}shot-seed{seed}.json",
            fold=experiment.tables.folds,
            seed=range(plan.runs.test_seeds),
        ),
    log:
        "results/{experiment}/logs/episodes/test-{dataset}-{shot}shot.log",
    benchmark:
        "results/{experiment}/benchmarks/episodes/test-{dataset}-{shot}shot.tsv"
    conda:
        environment
    params:
        job=job("draw_test_episodes"),
    script:
        "../workflow_scripts/draw_test_episodes.py"


rule draw_pseudo_episodes:
    input:
        masks=lambda wildcards: plan.paths.pseudo_masks(wildcards.pool, ".json"),
        files=lambda wildcards: ancient(plan.paths.pseudo_masks(wildcards.pool)),
        indexes=lambda wildcards: plan.paths.fold_indexes(
            wildcards.pool, wildcards.fold
        ),
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
        job=job("draw_pseudo_episodes"),
    script:
        "../workflow_scripts/draw_pseudo_episodes.py"


rule draw_split_episodes:
    input:
        masks=lambda wildcards: plan.paths.saliency_masks(wildcards.pool, ".json"),
        files=lambda wildcards: ancient(plan.paths.saliency_masks(wildcards.pool)),
        indexes=lambda wildcards: plan.paths.fold_indexes(
            wildcards.pool, wildcards.fold
        ),
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
        job=job("draw_split_episodes"),
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
        job=job("draw_base_episodes"),
    script:
        "../workflow_scripts/draw_base_episodes.py"
