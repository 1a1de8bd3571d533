"""Sphinx's settings for the decks: reveal.js, which comes with sphinx-revealjs, and formulas without a network."""

project = "Cycling Through Sparsity"
extensions = ["myst_nb", "sphinx_revealjs", "sphinx-mathjax-offline"]
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("revealjs", "text/html", 0),
    ("revealjs", "text/markdown", 5),
    ("revealjs", "image/png", 10),
    ("revealjs", "text/plain", 20),
]
nb_render_markdown_format = "gfm"  # tables in computed Markdown
myst_enable_extensions = ["dollarmath"]
html_show_sourcelink = False
html_copy_source = False
revealjs_static_path = ["static"]
revealjs_css_files = ["deck.css"]
revealjs_style_theme = "white"
revealjs_script_plugins = [{"src": "revealjs/plugin/notes/notes.js", "name": "RevealNotes"}]
revealjs_script_conf = {"hash": True, "slideNumber": True, "width": 1280, "height": 760, "margin": 0.04}
