# The functions that rules take inputs and parameters from; each asks the plan.


# What a rule's script is given: its job, and the digest of the code that does it.
def job(rule):
    def params(wildcards):
        one = job_class(rule).of(plan, wildcards)
        return {
            "code": code(f"workflow_scripts/{rule}.py", *one.modules),
            **one.params(),
        }

    return params


# How the weights of a run become scores of test images.
def tested_settings(run):
    return {
        "code": code(plan.model_source(run)),
        "amp": settings["evaluation"]["amp"],
        "model": plan.tested_model(run),
        "features": plan.model_features(run).model_dump(mode="json"),
    }


# training


def training_inputs(wildcards):
    return plan.training_inputs(plan.run_at(wildcards.run))


def initial_weights(wildcards):
    initial = plan.run_at(wildcards.run).initial
    return (
        [ancient(f"{plan.training_folder(initial)}/weights.safetensors")]
        if initial
        else []
    )


def training_settings(wildcards):
    run = plan.run_at(wildcards.run)
    return {
        "code": code(plan.model_source(run)),
        "seed": run.seed,
        **plan.trained_with(run),
    }


# evaluation


def evaluation_spec(wildcards):
    return plan.evaluations[wildcards.run, wildcards.dataset, int(wildcards.shot)]


def evaluation_inputs(wildcards):
    return plan.evaluation_inputs(evaluation_spec(wildcards))


def evaluation_weights(wildcards):
    run = evaluation_spec(wildcards).run
    folder = plan.training_folder(run)
    return [ancient(f"{folder}/weights.safetensors")] if run.is_trained else []


def evaluation_settings(wildcards):
    spec = evaluation_spec(wildcards)
    return {
        "folds": list(spec.folds),
        "seeds": spec.seeds,
        **tested_settings(spec.run),
    }


# report


def panel_settings(wildcards):
    return tested_settings(plan.panel.run)


def panel_inputs(wildcards):
    return plan.evaluation_inputs(plan.panel)


def panel_weights(wildcards):
    return ancient(f"{plan.training_folder(plan.panel.run)}/weights.safetensors")
