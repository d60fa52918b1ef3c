# evaluation: weights and test episodes -> intersection and union of every episode.


rule all_evaluation:
    input:
        [
            plan.paths.evaluation(spec)
            for table in plan.runs.tables
            for spec in plan.runs.evaluations_of(table)
        ],


rule evaluate_run:
    input:
        unpack(
            lambda wildcards: plan.inputs.evaluation_inputs(
                plan.runs.evaluation_at(wildcards)
            )
        ),
        files=lambda wildcards: ancient(
            plan.inputs.evaluation_files(plan.runs.evaluation_at(wildcards))
        ),
    output:
        "results/{experiment}/evaluation/{run}/{dataset}-{shot}shot{refine}.json",
    log:
        "results/{experiment}/logs/evaluation/{run}/{dataset}-{shot}shot{refine}.log",
    benchmark:
        "results/{experiment}/benchmarks/evaluation/{run}/{dataset}-{shot}shot{refine}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=8000,
        batch_size=experiment.evaluation.batch_size,
    params:
        job=job("evaluate_run"),
    script:
        "../workflow_scripts/evaluate_run.py"
