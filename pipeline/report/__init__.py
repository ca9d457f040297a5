"""The report: what was measured, read back from metrics/ and plots/, as one page and one table.

results.py   reads and checks what a model's stages measured
summary.py   the main figures of each model, one flat row: report/summary.json
figures.py   how a number of that name is written
charts.py    curves as SVG, the same bytes for the same numbers
page.py      report/index.html from page.html.j2 and style.css
"""
