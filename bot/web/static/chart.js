// The last day of one coin as charts, a panel for each number. uPlot draws them.

const EVERY_MS = 60_000;
const HEIGHT = 150;

function clock(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 16);
}

function numbers(places) {
  const step = places.length > 1 ? places[1] - places[0] : 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const shape = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return places.map((place) => place.toLocaleString("en", shape).replace("-", "−"));
}

export class Charts {
  constructor(section) {
    this.section = section;
    this.panels = section.querySelector(".panels");
    this.plots = [];
    this.asset = "";
    this.chart = null;
    setInterval(() => this.load(), EVERY_MS);
    new ResizeObserver(() => this.fit()).observe(this.panels);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(asset) {
    this.asset = asset;
    return this.load();
  }

  async load() {
    if (!this.asset) return;
    const asset = this.asset;
    try {
      const query = new URLSearchParams({ asset, lang: document.documentElement.lang });
      const answer = await fetch(`chart?${query}`);
      if (!answer.ok || asset !== this.asset) return;
      this.chart = await answer.json();
      this.draw();
    } catch {
      // the connection is lost, which the page says already
    }
  }

  draw() {
    if (!this.chart) return;
    for (const plot of this.plots) plot.destroy();
    this.panels.replaceChildren();
    this.section.hidden = false;
    this.section.querySelector("h2").textContent = this.chart.title;
    this.section.querySelector(".notes").textContent = this.chart.note;
    this.plots = this.chart.series.map((series) => this.panel(series));
  }

  panel(series) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const caption = document.createElement("p");
    this.panels.append(caption);
    const say = (place) => {
      const value = place == null ? undefined : series.values[place];
      const at = place == null ? "" : ` ${clock(this.chart.at[place])} UTC`;
      caption.textContent = place == null ? series.label : `${series.label}: ${value ?? "–"}${at}`;
    };
    const marks = (plot) => {
      const { left, top, width, height } = plot.bbox;
      plot.ctx.globalAlpha = 0.45;
      for (const turn of this.chart.turns) {
        const x = plot.valToPos(turn.at, "x", true);
        if (x < left || x > left + width) continue;
        plot.ctx.fillStyle = colour(turn.tone) || colour("dim");
        plot.ctx.fillRect(Math.round(x), top, 1, height);
      }
      plot.ctx.globalAlpha = 1;
    };
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line") }, ticks: { show: false } };
    const options = {
      width: this.panels.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: "day" }, drag: { x: false, y: false }, y: false },
      axes: [
        { ...axis, size: 28, values: (_, places) => places.map(clock) },
        { ...axis, size: 72, values: (_, places) => numbers(places) },
      ],
      series: [{}, { stroke: colour("accent"), width: 1.5, points: { show: false } }],
      hooks: { drawAxes: [marks], setCursor: [(plot) => say(plot.cursor.idx)] },
    };
    say(null);
    return new uPlot(options, [this.chart.at, series.values], this.panels);
  }

  fit() {
    const width = this.panels.clientWidth;
    for (const plot of this.plots) {
      if (width && plot.width !== width) plot.setSize({ width, height: HEIGHT });
    }
  }
}
