# record: one digest an arrow, of all its jobs. DVC watches them.


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
    script:
        "../workflow_scripts/digest_arrows.py"
