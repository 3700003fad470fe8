"""The harness: a campaign is compiled to a plan, run on a backend to a history, and judged by the checkers.

    Campaign (TOML) -- compile(seed) --> Plan -- run(backend) --> History -- check --> Verdict

Each arrow is one module: `compiler`, `runner`, and `checkers.compose`.  Start reading at `campaign`.
"""
