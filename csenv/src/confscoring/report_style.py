"""The page's style sheet: quiet type, light and dark, wide and narrow, screen and paper.

Blue and vermilion stay apart for colour-blind readers; every colour has a word or a sign beside it.
"""

from __future__ import annotations

COLOURS = """
:root { color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d2126; --muted: #59616b; --rule: #dfdcd3; --faint: #efede6;
  --good: #15609f; --good-soft: #dcebf7; --bad: #b3470e; --bad-soft: #fbe5d8; --vague: #8b9097; --vague-soft: #ebebea;
  --r0: #7b8087; --r1: #1d2126; --r2: #15609f; --r3: #a66a00; --r4: #0b7a66; --r5: #8a4a9e; --r6: #7b8087; --r7: #9c2f4f;
  --r8: #3f6b1f; --r9: #5a5fb0; --r10: #8a5a2b; --r11: #007a8a; --r12: #a03c86; --r13: #55606b; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15181c; --card: #1b1f25; --ink: #e7e9ec; --muted: #a4acb6; --rule: #343a43; --faint: #22272e;
  --good: #74b7f0; --good-soft: #1d3449; --bad: #f0965f; --bad-soft: #452a1b; --vague: #8b939d; --vague-soft: #2b3037;
  --r0: #9aa1aa; --r1: #e7e9ec; --r2: #74b7f0; --r3: #e0ab4a; --r4: #56c2a9; --r5: #c994db; --r6: #9aa1aa; --r7: #ec8ba7;
  --r8: #a5cc7c; --r9: #a9adf0; --r10: #d9a877; --r11: #5fcbdc; --r12: #e29ace; --r13: #b8c1cb; } }
"""

DRAWINGS = """
svg { display: block; max-width: 100%; height: auto; overflow: visible; font-family: inherit; }
svg text { fill: var(--ink); font-size: 12.5px; font-variant-numeric: tabular-nums; } svg .m { fill: var(--muted); } svg .s { font-size: 11.5px; }
svg .b { font-weight: 650; } svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg .rule { stroke: var(--rule); stroke-width: 1; } svg .iso { stroke: var(--vague); stroke-width: 1; stroke-dasharray: 2 4; opacity: .6; }
svg .front { fill: none; stroke: var(--muted); stroke-width: 1.2; opacity: .6; }
svg .on-good { fill: var(--card); font-weight: 600; }
"""

STYLE = (
    COLOURS
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 28px 72px; }
h1, h2 { font-family: Charter, "Iowan Old Style", Georgia, "Liberation Serif", serif; font-weight: 600; line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.6rem, 3.6vw, 2.5rem); margin: 6px 0 14px; max-width: 30em; letter-spacing: -.01em; }
h2 { font-size: 1.45rem; margin: 0 0 6px; }
h3 { font-size: 1rem; margin: 0 0 2px; font-weight: 600; }
p { margin: 0 0 12px; max-width: 46em; }
a { color: var(--good); }
.kicker { color: var(--muted); font-size: .86rem; margin: 0; }
.lead { font-size: 1.1rem; max-width: 44em; }
.note, figcaption, td small, th small, .tile small { color: var(--muted); font-size: .86rem; line-height: 1.45; }
section { margin-top: 52px; } .scroll + .note { margin-top: 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 14px; margin: 22px 0 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-top: 4px solid var(--vague); border-radius: 6px; padding: 14px 16px; }
.tile.good { border-top-color: var(--good); } .tile.bad { border-top-color: var(--bad); }
.tile b { display: block; font-size: 1.9rem; line-height: 1.15; font-weight: 650; letter-spacing: -.01em; font-variant-numeric: tabular-nums; margin: 2px 0 4px; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.tile small { display: block; }
.split { display: grid; grid-template-columns: minmax(0, 660px) minmax(220px, 1fr); gap: 44px; align-items: start; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 24px 28px; align-items: start; }
.flow { columns: 3 320px; column-gap: 36px; margin-top: 4px; } .flow figure { break-inside: avoid; margin: 0; padding-top: 16px; }
.curves { grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); }
.panels { grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 8px 24px; }
figure { margin: 14px 0 0; min-width: 0; }
figcaption { margin-top: 6px; max-width: 46em; }
"""
    + DRAWINGS
    + """
.only-narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 10px 0 0; list-style: none; font-size: .88rem; color: var(--muted); }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; vertical-align: -1px; }
.f-good { fill: var(--good); background: var(--good); } .f-bad { fill: var(--bad); background: var(--bad); } .f-vague { fill: var(--vague-soft); background: var(--vague-soft); stroke: var(--vague); }
i.f-vague { border: 1px solid var(--vague); }
.scroll { overflow-x: auto; margin-top: 14px; border: 1px solid var(--rule); border-radius: 6px; -webkit-overflow-scrolling: touch;
  background: linear-gradient(to left, var(--card) 40%, transparent) 100% 0 / 44px 100% no-repeat local,
    linear-gradient(to left, rgba(90, 96, 105, .35), transparent) 100% 0 / 16px 100% no-repeat scroll, var(--card); } /* a shadow where more is to the right */
.scroll:focus-visible { outline: 2px solid var(--good); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 8px; text-align: right; vertical-align: top; border-top: 1px solid var(--rule); white-space: nowrap; }
thead th { border-top: 0; color: var(--muted); font-weight: 600; font-size: .84rem; vertical-align: bottom; line-height: 1.3; }
th:first-child, td:first-child { text-align: left; padding-left: 14px; } th:last-child, td:last-child { padding-right: 14px; } th code { overflow-wrap: normal; }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--card); white-space: normal; min-width: 150px; }
thead th:first-child { position: sticky; left: 0; background: var(--card); }
tbody tr.key th, tbody tr.key td { background: var(--faint); } tbody tr.key th { font-weight: 650; }
td small { display: block; } td.good { color: var(--good); } td.bad { color: var(--bad); } td.good small, td.bad small { color: inherit; opacity: .85; }
td.words, th.words { text-align: left; white-space: normal; }
h3 small { font-weight: 400; color: var(--muted); font-size: .88rem; } .caption { margin-top: 22px; } .caption + .scroll { margin-top: 8px; }
.bar { display: inline-block; height: 10px; border-radius: 2px; background: var(--good); vertical-align: 0; margin-left: 8px; } .bar.neg { background: var(--bad); }
.track { display: inline-block; width: 110px; text-align: left; }
.heat td { text-align: center; padding: 6px 2px; position: relative; z-index: 0; min-width: 29px; } .heat th { z-index: 1; }
.heat thead th { text-align: center; padding: 6px 2px; } .heat thead th:first-child { text-align: left; padding-left: 14px; } .heat abbr { text-decoration: none; }
.heat { max-width: 780px; } .heat tbody th { min-width: 200px; }
.heat td::before { content: ""; position: absolute; inset: 0; z-index: -1; opacity: var(--deep); -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.heat .agree::before { background: var(--good); } .heat .differ::before { background: var(--bad); } .heat td.own { color: var(--muted); }
.heat .agree small, .heat .differ small { color: inherit; opacity: .8; } .heat + .note { margin-top: 12px; }
.checks { list-style: none; padding: 0; margin: 14px 0 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 0 32px; }
.checks li { border-top: 1px solid var(--rule); padding: 7px 0; line-height: 1.4; display: grid; grid-template-columns: 5.6em 1fr; gap: 12px; }
.checks .mark { font-weight: 650; font-size: .88rem; } .checks .good .mark { color: var(--good); } .checks .bad .mark { color: var(--bad); } .checks .unknown .mark { color: var(--muted); }
.checks small { display: block; color: var(--muted); }
.bios > *, .split > *, .grid > * { min-width: 0; }
.bios { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; margin-top: 8px; }
article { margin-top: 26px; }
.bio { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 12px 16px; } .bio p { margin: 6px 0 0; line-height: 1.75; }
.bio h4 { margin: 0; font-size: .86rem; color: var(--muted); font-weight: 600; }
.bio { position: relative; } .bio p > span, .verdicts span { border-radius: 3px; padding: 1px 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.verdicts { margin-bottom: 4px; } .fact { cursor: help; } .verdicts span { color: var(--ink); }
.correct { background: var(--good-soft); border-bottom: 2px solid var(--good); }
.incorrect, .off_topic, .unparsed { background: var(--bad-soft); border-bottom: 2px dashed var(--bad); }
.irrelevant { background: var(--vague-soft); border-bottom: 2px dotted var(--muted); }
.bio .vague, .verdicts .vague { background: var(--vague-soft); color: var(--muted); } .bio .repeat, .verdicts .repeat { color: var(--muted); }
.bio sup, .verdicts sup { font-size: .72rem; font-weight: 700; line-height: 0; margin-left: 2px; } .correct sup { color: var(--good); }
.incorrect sup, .off_topic sup, .unparsed sup { color: var(--bad); } .irrelevant sup { color: var(--muted); }
.bio em { font-style: normal; color: var(--bad); font-size: .86rem; }
.fact:focus-visible, summary:focus-visible { outline: 2px solid var(--good); outline-offset: 1px; }
.tip { display: none; position: absolute; left: 10px; right: 10px; z-index: 5; margin-top: 5px; padding: 9px 12px; background: var(--card); color: var(--ink);
  border: 1px solid var(--muted); border-radius: 6px; box-shadow: 0 6px 20px rgba(0, 0, 0, .22); font-size: .86rem; line-height: 1.45; overflow-wrap: anywhere; }
.fact:hover .tip, .fact:focus .tip { display: block; } .fact:hover ~ .fact:focus .tip { display: none; }
.chips { line-height: 2; } .chips small { color: var(--muted); }
.facts { font-size: .86rem; } .facts ol { margin: 8px 0 0; padding-left: 1.5em; } .facts li { margin-bottom: 7px; overflow-wrap: anywhere; }
code { font: .84em ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--muted); }
.wrap th { white-space: normal; } .wrap td { overflow-wrap: anywhere; }
ul.plain { padding-left: 1.1em; max-width: 46em; margin: 8px 0; } ul.plain li { margin-bottom: 6px; }
footer { margin-top: 60px; padding-top: 18px; border-top: 1px solid var(--rule); color: var(--muted); font-size: .86rem; }
@media (max-width: 860px) { .split { grid-template-columns: minmax(0, 1fr); gap: 20px; } .bios { grid-template-columns: 1fr; } }
@media (max-width: 560px) { main { padding: 22px 16px 48px; } section { margin-top: 40px; } .only-wide { display: none; } .only-narrow { display: block; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; } .tile { padding: 11px 12px; } .tile b { font-size: 1.45rem; } .lead { font-size: 1.02rem; }
  th, td { padding: 7px 9px; } tbody th { min-width: 118px; max-width: 130px; } .bios tbody th { min-width: 0; }
  .small { grid-template-columns: 1fr 1fr; gap: 4px 18px; } .heat td small { font-size: .68rem; }
  .heat tbody th { padding: 6px 4px 6px 10px; min-width: 112px; font-size: .84rem; }
  .checks li { grid-template-columns: 1fr; gap: 0; } }
@media print { @page { margin: 14mm 12mm; }
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --muted: #444; --rule: #bbb; --faint: #f4f4f4;
  --good: #15609f; --good-soft: #dcebf7; --bad: #b3470e; --bad-soft: #fbe5d8; --vague: #8b9097; --vague-soft: #ebebea;
  --r0: #7b8087; --r1: #1d2126; --r2: #15609f; --r3: #a66a00; --r4: #0b7a66; --r5: #8a4a9e; --r6: #7b8087; --r7: #9c2f4f;
  --r8: #3f6b1f; --r9: #5a5fb0; --r10: #8a5a2b; --r11: #007a8a; --r12: #a03c86; --r13: #55606b; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  html { font-size: 12px; } body { font-size: 12px; }
  main { padding: 0; max-width: none; } section { margin-top: 28px; }
  .tile, figure, .bio, tr, .checks li { break-inside: avoid; } .checks { break-before: avoid; } h2, h3, .caption, h3 + .note, section > p { break-after: avoid; }
  section > p { break-inside: avoid; } .split svg { width: 430px; } .flow figure svg { width: 300px; }
  .tiles { grid-template-columns: repeat(4, 1fr); } .bios { grid-template-columns: 1fr 1fr; }
  .split { grid-template-columns: minmax(0, 1fr); gap: 14px; } .panels, .curves { grid-template-columns: repeat(3, 1fr); } .flow { columns: 2; }
  .only-wide { display: block; } .only-narrow { display: none; }
  .scroll { overflow: visible; background: none; } table { font-size: 10px; } thead { display: table-header-group; }
  th, td { padding: 4px 3px; white-space: normal; }
  tbody th { position: static; min-width: 0; max-width: none; } thead th:first-child { position: static; }
  td small, th small, .note, figcaption { font-size: 9px; } .track { width: 60px; } .heat td { min-width: 0; }
  .facts { font-size: 9px; line-height: 1.35; } .facts li { margin-bottom: 1px; } .bio { padding: 6px 10px; } .bio p { line-height: 1.5; }
  .tip { display: none !important; } a { color: inherit; }
  details::details-content { content-visibility: visible; display: block; height: auto; } details > * { display: block; } summary { list-style: none; } }
"""
)

# What a drawing needs that stands alone, as a file.
ALONE = COLOURS + DRAWINGS + "svg { font-family: system-ui, -apple-system, \"Segoe UI\", Roboto, \"Liberation Sans\", Arial, sans-serif; }\n"
