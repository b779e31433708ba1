// Charts by Vega-Lite in the colours of the theme. Expressions are interpreted: no text of the data becomes code.
import "headwater/vega";

const { vegaEmbed } = window;
const drawn = new Set();

/** Draw a chart into an element, again when the theme changes; `pressed` is called with the datum of a mark. */
export async function chart(data, spec, label, element, pressed) {
  const draw = async () => {
    const { view } = await vegaEmbed(element, { ...structuredClone(spec), description: label }, {
      actions: false, ast: true, defaultStyle: false, renderer: "svg", config: looks(data),
      tooltip: { theme: "page", disableDefaultStyle: true },
    });
    view.addEventListener("click", (_, item) => item?.datum?.method && pressed(item.datum.method));
  };
  for (const other of drawn) if (!other.element.isConnected) drawn.delete(other);
  drawn.add({ element, draw });
  await draw();
}

function redraw() {
  for (const { element, draw } of drawn) if (element.isConnected) draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });

/** What the theme makes of marks and axes. */
function looks(data) {
  const [ink, soft, line, right] = ["ink", "soft", "line", "right"].map(resolved);
  const dark = isDark();
  const font = getComputedStyle(document.documentElement).fontFamily;
  return {
    background: "transparent", font,
    view: { stroke: null },
    axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 11 },
    header: { labelColor: ink, titleColor: ink },
    range: { category: data.families.map((family) => (dark ? family.dark : family.light)) },
    style: {
      front: { color: soft, strokeWidth: 1 },
      ceiling: { color: right, strokeWidth: 1.5 },
      "ceiling-band": { color: right, opacity: 0.15 },
    },
  };
}

function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}
