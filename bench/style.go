package bench

// styleSheet is the style sheet of the page. Subjects are named beside their
// bars, so that no information is in colours alone. s0 is the plain link.
const styleSheet = `
:root { --bg:#fff; --fg:#1c2126; --dim:#5b6570; --line:#d6dbe0; --box:#f4f6f8; --warn:#8a4b00; --good:#00704f; --bad:#b3320b;
 --s0:#7c8893; --s1:#0072b2; --s2:#c1520e; --s3:#007d5a; --s4:#a8487f; --s5:#7f6300; --s6:#4b5bc9 }
@media (prefers-color-scheme: dark) {
:root { --bg:#14181c; --fg:#e4e8ec; --dim:#9da8b3; --line:#333b43; --box:#1d2328; --warn:#f0b35a; --good:#3fcf9f; --bad:#ff8a5c;
 --s0:#87929d; --s1:#56b4e9; --s2:#f2894f; --s3:#35c799; --s4:#e59ac4; --s5:#e0bd45; --s6:#9aa7ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--bg); color: var(--fg); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1200px; margin: 0 auto; padding: 24px 16px 64px }
h1 { font-size: 24px; margin: 0 0 12px } h2 { font-size: 18px; margin: 28px 0 6px } h3 { font-size: 14px; margin: 0 0 2px }
p { margin: 4px 0 12px; color: var(--dim) } ul { margin: 0; padding-left: 20px }
dl { margin: 0; display: grid; gap: 2px } dl div { display: flex; gap: 12px }
dt { color: var(--dim); min-width: 84px } dd { margin: 0; overflow-wrap: anywhere }
.warnings, .problems { background: var(--box); border-left: 4px solid var(--warn); margin-top: 20px; padding: 10px 16px }
.warnings h2, .problems h2 { margin: 0; font-size: 15px; color: var(--warn) }
.key { margin: 32px 0 -8px }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 20px 28px }
figure { margin: 0; max-width: 640px } figcaption { font-weight: 600; font-size: 14px } figcaption span { color: var(--dim); font-weight: 400 }
svg { display: block; width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: currentColor }
svg .dim { fill: var(--dim); font-size: 11px } svg .grid { stroke: var(--line) } svg .one { stroke: var(--dim); stroke-dasharray: 3 2 }
svg .ink { stroke: currentColor; stroke-width: 1.2; fill: none } svg .dot { fill: var(--bg); stroke: currentColor; stroke-width: 1.2 }
svg .cut { stroke: var(--bg); stroke-width: 4 }
.s0 { fill: var(--s0) } .s1 { fill: var(--s1) } .s2 { fill: var(--s2) } .s3 { fill: var(--s3) } .s4 { fill: var(--s4) } .s5 { fill: var(--s5) } .s6 { fill: var(--s6) }
.good { fill: var(--good); stroke: var(--good) } .bad { fill: var(--bad); stroke: var(--bad) } .same { fill: var(--bg); stroke: var(--dim) }
line.same { stroke: var(--dim) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: 2px 10px; text-align: left; vertical-align: top; white-space: nowrap } thead th { color: var(--dim); font-weight: 500 }
.n { text-align: right; white-space: pre } .first > * { border-top: 1px solid var(--line) } tbody th { font-weight: 500 }
`
