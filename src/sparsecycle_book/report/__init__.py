"""What the records say, in sentences and tables, for the pages and the README: nobody types a number into prose.

The arguments are called the same everywhere. `runs` are rows of `load_runs`, of one preset where a function takes no
`preset`; `epochs`, `decisions` and `layers` are those of `load_epochs`, `load_decisions` and `load_layers`. `preset`
says whose runs are compared, and `config` is of these runs. `table` is of `verdict_table`, `compared` of
`compare_arms`, a `row` of either; gains are fractions there, and points in the text. `treatments` and the `names` of
arms are as for `compare_arms`, `measures` columns of `runs` by their headings, `pairs` of `first_pairs`, and `correct`
says by run which test images were right at each look, bool (looks, n). What is `brief` leaves numbers out.
"""
