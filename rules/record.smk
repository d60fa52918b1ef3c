# record: what DVC records, and one digest for each arrow, over all of its jobs. DVC watches these.


rule all_recorded:
    input:
        rules.all_tables.input,
        rules.all_figures.input,
        rules.all_training.input,
        recorded_arrows,


rule all_settings:
    input:
        plan.paths.settings,
        recorded_arrows,


rule digest_arrows:
    output:
        "results/{experiment}/arrows.yaml",
    log:
        "results/{experiment}/logs/arrows.log",
    benchmark:
        "results/{experiment}/benchmarks/arrows.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/digest_arrows.py"),
        arrows=lambda wildcards: arrow_digests(workflow, Plan(experiment)),
        # DVC wants all folders of dvc.yaml; an experiment without tables evaluates nothing.
        folders=plan.paths.recorded_folders,
    script:
        "../workflow_scripts/digest_arrows.py"
