# clustering: pixel embeddings of an unlabelled pool -> cluster centroids.


rule all_clustering:
    input:
        collect(
            "results/{experiment}/clustering/{pool}/centroids.h5",
            experiment=experiment.name,
            pool=plan.pools,
        ),


rule cluster_pixels:
    input:
        clustering_features,
    output:
        "results/{experiment}/clustering/{pool}/centroids.h5",
    log:
        "results/{experiment}/logs/clustering/{pool}-cluster_pixels.log",
    benchmark:
        "results/{experiment}/benchmarks/clustering/{pool}-cluster_pixels.tsv"
    conda:
        environment
    threads: 2
    resources:
        mem_mb=8000,
    params:
        code=code(
            "workflow_scripts/cluster_pixels.py",
            "umtfss/clustering/pixel_kmeans.py",
            "umtfss/linear.py",
        ),
        settings=clustering_settings,
        level=clustering_level,
        clusters=lookup(dpath="pools/{pool}/clusters", within=settings),
    script:
        "../workflow_scripts/cluster_pixels.py"
