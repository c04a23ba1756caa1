// Puts what the server says into the tables, as text only; nothing of it is ever read as HTML.

import { Charts } from "./chart.js";

const SILENT_MS = 10_000; // the server says something every two seconds
const AGAIN_MS = 5_000;
const state = document.getElementById("state");
let heardAt = Date.now();
let source = null;
const charts = new Charts(document.getElementById("chart"));

function element(name, text, className) {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

function showTable(table) {
  const section = document.getElementById(table.name);
  if (!section) return;
  section.querySelector(".notes").replaceChildren(...table.notes.map((note) => element("p", note)));
  section.querySelector("table").hidden = table.rows.length === 0;
  section.querySelector("thead tr").replaceChildren(
    ...table.columns.map((column) => {
      const head = element("th", column.text);
      head.scope = "col";
      if (column.about) head.title = column.about;
      return head;
    }),
  );
  section.querySelector("tbody").replaceChildren(
    ...table.rows.map((row) => {
      const line = document.createElement("tr");
      row.forEach((cell, place) => {
        const shown = element("td", cell.text, cell.tone);
        shown.dataset.label = table.columns[place].text;
        if (table.name === "market" && place === 0) {
          const button = element("button", cell.text);
          button.type = "button";
          button.addEventListener("click", () => {
            charts.show(cell.text).then(() => charts.section.scrollIntoView({ block: "nearest" }));
          });
          shown.replaceChildren(button);
        }
        line.append(shown);
      });
      return line;
    }),
  );
}

function heard() {
  heardAt = Date.now();
  state.textContent = state.dataset.live;
  state.className = "good";
}

function lost() {
  state.textContent = state.dataset.lost;
  state.className = "bad";
}

function listen() {
  source?.close();
  source = new EventSource(`events?lang=${encodeURIComponent(document.documentElement.lang)}`);
  source.addEventListener("version", (event) => {
    if (event.data !== document.documentElement.dataset.version) location.reload();
    heard();
  });
  source.addEventListener("beat", heard);
  source.addEventListener("table", (event) => {
    heard();
    const table = JSON.parse(event.data);
    showTable(table);
    if (table.name === "market" && !charts.asset && table.rows.length) {
      charts.show(table.rows[0][0].text);
    }
  });
  source.addEventListener("error", () => {
    lost();
    // a browser comes back by itself when the connection broke, not when it was refused
    if (source.readyState === EventSource.CLOSED) heardAt = Date.now() - SILENT_MS + AGAIN_MS;
  });
}

setInterval(() => {
  if (Date.now() - heardAt > SILENT_MS) {
    lost();
    heardAt = Date.now() - SILENT_MS + AGAIN_MS;
    listen();
  }
}, 1_000);
listen();
