# training: episodes -> the weights of one run.


rule all_training:
    input:
        collect(
            "results/{experiment}/training/{run}/{file}",
            experiment=experiment.name,
            run=[run.path for run in plan.runs.trained_runs],
            file=["manifest.json", "weights.safetensors", "log.csv", "curve.png"],
        ),


rule train_model:
    input:
        unpack(
            lambda wildcards: plan.inputs.training_inputs(
                plan.runs.run_at(wildcards.run)
            )
        ),
        files=lambda wildcards: ancient(
            plan.inputs.training_files(plan.runs.run_at(wildcards.run))
        ),
    output:
        weights="results/{experiment}/training/{run}/weights.safetensors",
        manifest="results/{experiment}/training/{run}/manifest.json",
        log="results/{experiment}/training/{run}/log.csv",
        curve="results/{experiment}/training/{run}/curve.png",
    log:
        "results/{experiment}/logs/training/{run}.log",
    benchmark:
        "results/{experiment}/benchmarks/training/{run}.tsv"
    conda:
        environment
    threads: 1
    resources:
        mem_mb=6000,
        gpus=0,
        # Resources, not parameters: they decide no weight, so a change makes no training stale.
        workers=lambda wildcards: plan.runs.training_settings(
            plan.runs.run_at(wildcards.run)
        ).workers,
        checkpoint_seconds=lambda wildcards: round(
            60
            * plan.runs.training_settings(
                plan.runs.run_at(wildcards.run)
            ).checkpoint_minutes
        ),
    params:
        job=job("train_model"),
    script:
        "../workflow_scripts/train_model.py"
