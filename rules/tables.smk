# tables: per-episode results -> LaTeX, CSV and Markdown, the ledger of claims, and metrics for DVC.


rule write_table:
    input:
        lambda wildcards: plan.inputs.table_inputs(wildcards.table),
    output:
        "results/{experiment}/tables/{table}.tex",
        "results/{experiment}/tables/{table}_notes.tex",
        "results/{experiment}/tables/{table}_page.tex",
        report(
            "results/{experiment}/tables/{table}.csv",
            caption="captions/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
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
        report(
            "results/{experiment}/tables/claims.md",
            caption="captions/claims.rst",
            category="Tables",
            labels={"table": "claims"},
        ),
        "results/{experiment}/tables/claims.json",
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


rule write_metrics:
    input:
        [plan.paths.table_csv(table.name) for table in plan.runs.tables],
    output:
        metrics="results/{experiment}/metrics.json",
        plots="results/{experiment}/dvc.yaml",
        manifest="results/{experiment}/dvc.json",
    log:
        "results/{experiment}/logs/tables/metrics.log",
    benchmark:
        "results/{experiment}/benchmarks/tables/metrics.tsv"
    conda:
        environment
    params:
        job=job("write_metrics"),
    script:
        "../workflow_scripts/write_metrics.py"
