# features: images -> HDF5 caches of named frozen features, one job per shard; caches of a pool ->
# a diffusion map; caches and the map -> caches of diffused features.


rule all_features:
    input:
        plan.paths.feature_manifests(plan.feature_caches),


rule extract_features:
    input:
        "results/{experiment}/data/{dataset}/{split}.json",
    output:
        # The big part files lie beside the manifest. They are no outputs: Snakemake would delete
        # outputs before a restart, and a restart resumes from the parts.
        "results/{experiment}/features/{extracted}/{dataset}/{split}/shard{shard}/manifest.json",
    log:
        "results/{experiment}/logs/features/{extracted}-{dataset}-{split}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/features/{extracted}-{dataset}-{split}-shard{shard}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=6000,
    params:
        job=job("extract_features"),
    script:
        "../workflow_scripts/extract_features.py"


rule map_pool:
    input:
        lambda wildcards: plan.inputs.mapped_features(wildcards.diffused),
    output:
        map="results/{experiment}/features/{diffused}/diffusion.h5",
        manifest="results/{experiment}/features/{diffused}/diffusion.json",
    log:
        "results/{experiment}/logs/features/{diffused}-map_pool.log",
    benchmark:
        "results/{experiment}/benchmarks/features/{diffused}-map_pool.tsv"
    conda:
        environment
    threads: 2
    resources:
        mem_mb=6000,
    params:
        job=job("map_pool"),
    script:
        "../workflow_scripts/map_pool.py"


rule diffuse_features:
    input:
        features=lambda wildcards: plan.inputs.features_before(
            wildcards.diffused,
            wildcards.dataset,
            wildcards.split,
            wildcards.shard,
        ),
        map="results/{experiment}/features/{diffused}/diffusion.json",
        file=ancient("results/{experiment}/features/{diffused}/diffusion.h5"),
    output:
        "results/{experiment}/features/{diffused}/{dataset}/{split}/shard{shard}/manifest.json",
    log:
        "results/{experiment}/logs/features/{diffused}-{dataset}-{split}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/features/{diffused}-{dataset}-{split}-shard{shard}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=4000,
    params:
        job=job("diffuse_features"),
    script:
        "../workflow_scripts/diffuse_features.py"
