# record: one digest for each arrow, over all of its jobs. DVC watches these digests.


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
