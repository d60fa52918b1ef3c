# clustering: pixel embeddings of an unlabelled pool -> cluster centroids.


rule all_clustering:
    input:
        collect(
            "results/{experiment}/clustering/{pool}/centroids.h5",
            experiment=experiment.name,
            pool=plan.pools,
        ),
        collect(
            "results/{experiment}/clustering/{pool}/graph.h5",
            experiment=experiment.name,
            pool=plan.spread_pools,
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
        settings=lookup(dpath="clustering", within=settings),
        level=lookup(dpath="features/clustering/level", within=settings),
        clusters=lookup(dpath="pools/{pool}/clusters", within=settings),
    script:
        "../workflow_scripts/cluster_pixels.py"


rule link_pool:
    input:
        graph_features,
    output:
        "results/{experiment}/clustering/{pool}/graph.h5",
    log:
        "results/{experiment}/logs/clustering/{pool}-link_pool.log",
    benchmark:
        "results/{experiment}/benchmarks/clustering/{pool}-link_pool.tsv"
    conda:
        environment
    threads: 2
    resources:
        mem_mb=4000,
    params:
        code=code(
            "workflow_scripts/link_pool.py",
            "umtfss/clustering/pool_graph.py",
        ),
        settings=lookup(dpath="propagation", within=settings),
        level=lookup(dpath="features/model/high", within=settings),
    script:
        "../workflow_scripts/link_pool.py"
