# tables: per-episode results -> LaTeX, CSV and Markdown, and the ledger of claims.


rule write_table:
    input:
        table_results,
    output:
        "results/{experiment}/tables/{table}.tex",
        "results/{experiment}/tables/{table}.csv",
        "results/{experiment}/tables/{table}.md",
    log:
        "results/{experiment}/logs/tables/{table}.log",
    benchmark:
        "results/{experiment}/benchmarks/tables/{table}.tsv"
    conda:
        environment
    params:
        code=code("workflow_scripts/write_table.py"),
        settings=table_settings,
    script:
        "../workflow_scripts/write_table.py"


rule write_claims:
    input:
        claim_results,
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
        code=code("workflow_scripts/write_claims.py"),
        settings=table_settings,
        model=lookup(dpath="model", within=settings),
    script:
        "../workflow_scripts/write_claims.py"
