# evaluation: weights and test episodes -> intersection and union of every episode.


rule all_evaluation:
    input:
        [
            plan.evaluation(spec)
            for table in plan.tables
            for spec in plan.evaluations_of(table)
        ],


rule evaluate_run:
    input:
        unpack(evaluation_inputs),
        weights_file=evaluation_weights,
    output:
        "results/{experiment}/evaluation/{run}/{dataset}-{shot}shot.json",
    log:
        "results/{experiment}/logs/evaluation/{run}/{dataset}-{shot}shot.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluation/{run}/{dataset}-{shot}shot.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=8000,
    params:
        code=code("workflow_scripts/evaluate_run.py"),
        settings=evaluation_settings,
    script:
        "../workflow_scripts/evaluate_run.py"
