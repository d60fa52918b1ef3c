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
