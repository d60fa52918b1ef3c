# features: images -> HDF5 caches of frozen features, in shards that can be separate jobs.


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
        code=code(
            "workflow_scripts/extract_features.py",
            "umtfss/features",
            "umtfss/backbones",
            "umtfss/episodes/geometry.py",
        ),
        levels=cache_levels,
        augment=cache_augment,
        shards=lookup(dpath="features/shards", within=settings),
        precision=lookup(dpath="features/precision", within=settings),
        weights=lookup(dpath="features/weights", within=settings),
    script:
        "../workflow_scripts/extract_features.py"
