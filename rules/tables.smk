# tables: per-episode results -> LaTeX, CSV and Markdown, and the ledger of claims.


rule write_table:
    input:
        lambda wildcards: plan.inputs.table_inputs(wildcards.table),
    output:
        "results/{experiment}/tables/{table}.tex",
        "results/{experiment}/tables/{table}_notes.tex",
        "results/{experiment}/tables/{table}_page.tex",
        "results/{experiment}/tables/{table}.csv",
        "results/{experiment}/tables/{table}.md",
    log:
        "results/{experiment}/logs/tables/{table}.log",
    benchmark:
        "results/{experiment}/benchmarks/tables/{table}.tsv"
    conda:
        environment
    params:
        job=job("write_table"),
    script:
        "../workflow_scripts/write_table.py"


rule write_claims:
    input:
        plan.inputs.claim_inputs,
    output:
        "results/{experiment}/claims.md",
        "results/{experiment}/claims.json",
    log:
        "results/{experiment}/logs/tables/claims.log",
    benchmark:
        "results/{experiment}/benchmarks/tables/claims.tsv"
    conda:
        environment
    params:
        job=job("write_claims"),
    script:
        "../workflow_scripts/write_claims.py"
