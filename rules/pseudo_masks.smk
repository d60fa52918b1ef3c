# pseudo_masks: centroids -> label map and valid regions of every image, clusters of pixels or objects;
# for MaskSplit, the salient region of every image, which depends on the image alone; for test images,
# superpixels.


rule all_pseudo_masks:
    input:
        plan.mask_files,


rule make_pseudo_masks:
    input:
        centroids="results/{experiment}/clustering/{pool}/centroids.json",
        file=ancient("results/{experiment}/clustering/{pool}/centroids.h5"),
        features=lambda wildcards: plan.inputs.assigned_features(
            wildcards.pool, wildcards.dataset, wildcards.split, wildcards.shard
        ),
        index="results/{experiment}/data/{dataset}/{split}.json",
    output:
        masks="results/{experiment}/pseudo_masks/{pool}/{dataset}-{split}-shard{shard}.h5",
        manifest="results/{experiment}/pseudo_masks/{pool}/{dataset}-{split}-shard{shard}.json",
    log:
        "results/{experiment}/logs/pseudo_masks/{pool}-{dataset}-{split}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/pseudo_masks/{pool}-{dataset}-{split}-shard{shard}.tsv"
    wildcard_constraints:
        pool=one_of(experiment.pools_of("pixels")),
    conda:
        environment
    threads: 2
    resources:
        mem_mb=4000,
    params:
        job=job("make_pseudo_masks"),
    script:
        "../workflow_scripts/make_pseudo_masks.py"


rule make_object_masks:
    input:
        centroids="results/{experiment}/clustering/{pool}/centroids.json",
        file=ancient("results/{experiment}/clustering/{pool}/centroids.h5"),
        features=lambda wildcards: plan.inputs.assigned_features(
            wildcards.pool, wildcards.dataset, wildcards.split, wildcards.shard
        ),
        index="results/{experiment}/data/{dataset}/{split}.json",
    output:
        masks="results/{experiment}/pseudo_masks/{pool}/{dataset}-{split}-shard{shard}.h5",
        manifest="results/{experiment}/pseudo_masks/{pool}/{dataset}-{split}-shard{shard}.json",
    log:
        "results/{experiment}/logs/pseudo_masks/{pool}-{dataset}-{split}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/pseudo_masks/{pool}-{dataset}-{split}-shard{shard}.tsv"
    wildcard_constraints:
        pool=one_of(experiment.pools_of("objects")),
    conda:
        environment
    threads: 2
    resources:
        mem_mb=4000,
    params:
        job=job("make_object_masks"),
    script:
        "../workflow_scripts/make_object_masks.py"


rule make_saliency_masks:
    input:
        features=lambda wildcards: plan.inputs.salient_features(
            wildcards.dataset, wildcards.split, wildcards.shard
        ),
        index="results/{experiment}/data/{dataset}/{split}.json",
    output:
        masks="results/{experiment}/pseudo_masks/saliency-{dataset}-{split}-shard{shard}.h5",
        manifest="results/{experiment}/pseudo_masks/saliency-{dataset}-{split}-shard{shard}.json",
    log:
        "results/{experiment}/logs/pseudo_masks/saliency-{dataset}-{split}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/pseudo_masks/saliency-{dataset}-{split}-shard{shard}.tsv"
    conda:
        environment
    threads: 2
    resources:
        mem_mb=4000,
    params:
        job=job("make_saliency_masks"),
    script:
        "../workflow_scripts/make_saliency_masks.py"


rule make_superpixels:
    input:
        "results/{experiment}/data/{dataset}/{split}.json",
    output:
        superpixels="results/{experiment}/pseudo_masks/superpixels-{dataset}-{split}-shard{shard}.h5",
        manifest="results/{experiment}/pseudo_masks/superpixels-{dataset}-{split}-shard{shard}.json",
    log:
        "results/{experiment}/logs/pseudo_masks/superpixels-{dataset}-{split}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/pseudo_masks/superpixels-{dataset}-{split}-shard{shard}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=1000,
    params:
        job=job("make_superpixels"),
    script:
        "../workflow_scripts/make_superpixels.py"
