# Functions for the parameters and inputs of rules.


# The parameter `job` of a rule: the fields of the job, and the digest of the script's code.
def job(rule):
    def params(wildcards):
        one = job_class(rule).of(plan, wildcards)
        return {
            "code": code(f"workflow_scripts/{rule}.py", *one.modules),
            **one.params(),
        }

    return params


# A wildcard's pattern for some names, or for none.
def one_of(names):
    return "|".join(names) or "(?!)"


# The digests of arrows; dvc.yaml takes the experiment's name from config.yaml.
def recorded_arrows(wildcards):
    if config["experiment"] != experiment.name:
        raise WorkflowError(
            f"DVC records an experiment by its name: write `experiment: {experiment.name}` into "
            f"config.yaml, in place of {config['experiment']}"
        )
    return f"{plan.paths.root}/arrows.yaml"
