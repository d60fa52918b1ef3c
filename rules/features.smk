# features: images -> HDF5 caches of frozen features, in shards that can be separate jobs; those of
# a pool -> a map that makes caches of diffused features out of them.


rule all_features:
    input:
        plan.feature_manifests(plan.feature_caches),


rule extract_features:
    input:
        "results/{experiment}/data/{dataset}/{split}.json",
    output:
        # The big part files lie beside the manifest. They are no outputs, because Snakemake
        # would delete them before a restart, and a restart goes on where the last one stopped.
        "results/{experiment}/features/{dataset}/{split}/{cache}/shard{shard}/manifest.json",
    log:
        "results/{experiment}/logs/features/{dataset}-{split}-{cache}-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/features/{dataset}-{split}-{cache}-shard{shard}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=6000,
    params:
        code=code("workflow_scripts/extract_features.py"),
        levels=cache_levels,
        shards=lookup(dpath="features/shards", within=settings),
        precision=lookup(dpath="features/precision", within=settings),
        mirrored=lookup(dpath="features/mirrored", within=settings),
        weights=lookup(dpath="features/weights", within=settings),
    script:
        "../workflow_scripts/extract_features.py"


rule map_pool:
    input:
        plan.feature_manifests(plan.diffusion_sources),
    output:
        "results/{experiment}/features/diffusion.h5",
    log:
        "results/{experiment}/logs/features/map_pool.log",
    benchmark:
        "results/{experiment}/benchmarks/features/map_pool.tsv"
    conda:
        environment
    threads: 2
    resources:
        mem_mb=6000,
    params:
        code=code("workflow_scripts/map_pool.py"),
        settings=lookup(dpath="features/diffusion", within=settings),
    script:
        "../workflow_scripts/map_pool.py"


rule diffuse_features:
    input:
        features="results/{experiment}/features/{dataset}/{split}/{cache}/shard{shard}/manifest.json",
        map="results/{experiment}/features/diffusion.h5",
    output:
        "results/{experiment}/features/{dataset}/{split}/{cache}-diffused/shard{shard}/manifest.json",
    log:
        "results/{experiment}/logs/features/{dataset}-{split}-{cache}-diffused-shard{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/features/{dataset}-{split}-{cache}-diffused-shard{shard}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=4000,
    params:
        code=code("workflow_scripts/diffuse_features.py"),
        part_mb=lookup(dpath="features/part_mb", within=settings),
    script:
        "../workflow_scripts/diffuse_features.py"
