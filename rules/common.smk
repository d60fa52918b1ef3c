# Functions for the parameters of rules.


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
