# data: raw files on disk -> a verified list of images for each split.


# The experiment with all defaults. The file is in git. The lists of images are not, and as inputs they
# make a fresh clone write the file anew.
rule write_settings:
    input:
        plan.indexes,
    output:
        "results/{experiment}/settings.yaml",
    log:
        "results/{experiment}/logs/settings.log",
    benchmark:
        "results/{experiment}/benchmarks/settings.tsv"
    conda:
        environment
    params:
        job=job("write_settings"),
    script:
        "../workflow_scripts/write_settings.py"


rule all_data:
    input:
        plan.indexes,


rule make_shapes:
    output:
        "results/{experiment}/data/{dataset}/generated.json",
    log:
        "results/{experiment}/logs/data/{dataset}-make_shapes.log",
    benchmark:
        "results/{experiment}/benchmarks/data/{dataset}-make_shapes.tsv"
    conda:
        environment
    threads: 2
    params:
        job=job("make_shapes"),
    script:
        "../workflow_scripts/make_shapes.py"


rule download_dataset:
    output:
        "results/{experiment}/data/{dataset}/downloaded.json",
    log:
        "results/{experiment}/logs/data/{dataset}-download_dataset.log",
    benchmark:
        "results/{experiment}/benchmarks/data/{dataset}-download_dataset.tsv"
    conda:
        environment
    params:
        job=job("download_dataset"),
    script:
        "../workflow_scripts/download_dataset.py"


rule index_split:
    input:
        marker=lambda wildcards: plan.paths.raw_marker(wildcards.dataset),
        tested=lambda wildcards: plan.inputs.tested_indexes(
            wildcards.dataset, wildcards.split
        ),
    output:
        "results/{experiment}/data/{dataset}/{split}.json",
    log:
        "results/{experiment}/logs/data/{dataset}-{split}-index_split.log",
    benchmark:
        "results/{experiment}/benchmarks/data/{dataset}-{split}-index_split.tsv"
    wildcard_constraints:
        split=one_of(
            sorted(
                {name for one in experiment.datasets.values() for name in one.splits}
            )
        ),
    conda:
        environment
    params:
        job=job("index_split"),
    script:
        "../workflow_scripts/index_split.py"
