# clustering: pixel embeddings of an unlabelled pool, or its salient objects -> cluster centroids.


rule all_clustering:
    input:
        collect(
            "results/{experiment}/clustering/{pool}/centroids.{suffix}",
            experiment=experiment.name,
            pool=plan.runs.pools,
            suffix=["h5", "json"],
        ),


rule cluster_pixels:
    input:
        lambda wildcards: plan.inputs.clustered_features(wildcards.pool),
    output:
        centroids="results/{experiment}/clustering/{pool}/centroids.h5",
        manifest="results/{experiment}/clustering/{pool}/centroids.json",
    log:
        "results/{experiment}/logs/clustering/{pool}-cluster_pixels.log",
    benchmark:
        "results/{experiment}/benchmarks/clustering/{pool}-cluster_pixels.tsv"
    wildcard_constraints:
        pool=one_of(experiment.pools_of("pixels")),
    conda:
        environment
    threads: 2
    resources:
        mem_mb=8000,
    params:
        job=job("cluster_pixels"),
    script:
        "../workflow_scripts/cluster_pixels.py"


rule cluster_objects:
    input:
        lambda wildcards: plan.inputs.clustered_features(wildcards.pool),
    output:
        centroids="results/{experiment}/clustering/{pool}/centroids.h5",
        manifest="results/{experiment}/clustering/{pool}/centroids.json",
    log:
        "results/{experiment}/logs/clustering/{pool}-cluster_objects.log",
    benchmark:
        "results/{experiment}/benchmarks/clustering/{pool}-cluster_objects.tsv"
    wildcard_constraints:
        pool=one_of(experiment.pools_of("objects")),
    conda:
        environment
    threads: 2
    resources:
        mem_mb=4000,
    params:
        job=job("cluster_objects"),
    script:
        "../workflow_scripts/cluster_objects.py"
