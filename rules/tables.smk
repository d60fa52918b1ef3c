# tables: per-episode results -> LaTeX, CSV and Markdown.


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
        code=code(
            "workflow_scripts/write_table.py", "umtfss/tables", "umtfss/evaluation"
        ),
        settings=table_settings,
    script:
        "../workflow_scripts/write_table.py"
