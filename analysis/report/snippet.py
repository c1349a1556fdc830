"""A run in a few lines of HTML, as a notebook shows it: its state, its best trials, the best one drawn."""

from __future__ import annotations

from typing import Final

from jinja2 import Environment, StrictUndefined

from analysis.frames import Paths
from analysis.report.contents import report_of
from analysis.report.page import draw_network
from genotypes.genotype import shorten
from genotypes.measure import Measure

_TOP: Final = 5

_HTML: Final = """\
<div>
<p><strong>{{ run.name }}</strong>: {{ run.strategy }} on {{ run.space }}, {{ run.state }}, \
{{ run.trained }} trainings</p>
<table>
<thead><tr><th>trial</th><th>{{ measure }}</th><th>parameters</th><th>genotype</th></tr></thead>
<tbody>
{% for trial in top %}
<tr><td>{{ trial.id }}</td><td>{{ "%.2f" | format(100 * trial.fitness) }} %</td>\
<td>{{ "" if trial.parameters is none else "{:,}".format(trial.parameters) }}</td>\
<td style="text-align:left"><code>{{ shorten(trial.genotype) }}</code></td></tr>
{% endfor %}
</tbody>
</table>
{% for drawn in pictures %}
<img src="{{ drawn.source }}" width="{{ drawn.width }}" alt="{{ drawn.name }} of trial {{ top[0].id }}" \
style="background:white;max-width:100%">
{% endfor %}
</div>
"""


def report_snippet(paths: Paths) -> str:
    """Return the best trials of a run as a table of HTML, and pictures of the best; all texts are escaped.

    Raises:
        HistoryError: if there is no such run, or its history cannot be read.
    """
    report = report_of(paths, top=_TOP)
    drawn = [picture for entry in report["cells"][:1] for picture in draw_network(entry)["cells"]]
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_HTML)
    measure = Measure.from_json(report["measure"]).heading
    return template.render(run=report["runs"][0], top=report["top"], pictures=drawn, measure=measure, shorten=shorten)
