# training: episodes -> the weights of one run.


rule all_training:
    input:
        collect(
            "results/{experiment}/training/{run}/manifest.json",
            experiment=experiment.name,
            run=[run.path for run in plan.trained_runs],
        ),


rule train_model:
    input:
        unpack(training_inputs),
        initial_file=initial_weights,
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
    params:
        code=code("workflow_scripts/train_model.py"),
        settings=training_settings,
    script:
        "../workflow_scripts/train_model.py"
