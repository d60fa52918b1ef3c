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
        unpack(lambda wildcards: plan.evaluation_inputs(plan.evaluation_at(wildcards))),
        weights_file=lambda wildcards: ancient(
            plan.training_weights(plan.evaluation_at(wildcards).run)
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
