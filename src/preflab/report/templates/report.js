"use strict";
// Legends hide and show an arm in every figure, and figure elements show tooltips. The page is complete without this script.
const off = new Set();
const parts = [...document.querySelectorAll("svg.figure [data-arm]")];
const buttons = [...document.querySelectorAll(".legend [data-arm]")].map(item => {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.arm = item.dataset.arm;
  button.append(...item.childNodes);
  item.append(button);
  return button;
});
const show = () => {
  for (const part of parts) part.classList.toggle("off", off.has(part.dataset.arm));
  for (const button of buttons) button.setAttribute("aria-pressed", String(!off.has(button.dataset.arm)));
};
for (const button of buttons) {
  button.title = "Switches this arm off and on in every figure";
  button.addEventListener("click", () => {
    if (!off.delete(button.dataset.arm)) off.add(button.dataset.arm);
    show();
  });
}
show();

const tip = document.createElement("p");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
for (const part of parts) {
  const title = part.querySelector("title");
  if (!title) continue;
  part.dataset.note = title.textContent;
  title.remove();
}
for (const figure of document.querySelectorAll("svg.figure")) {
  const leave = () => {
    tip.hidden = true;
    figure.classList.remove("pointed");
  };
  figure.addEventListener("pointerover", event => {
    const part = event.target.closest("[data-arm]");
    if (!part) return leave();
    for (const other of figure.querySelectorAll("[data-arm]")) {
      other.classList.toggle("same", other.dataset.arm === part.dataset.arm);
    }
    figure.classList.add("pointed");
    tip.hidden = !part.dataset.note;
    tip.textContent = part.dataset.note || "";
    const place = part.getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(place.right + 8, room)) + scrollX}px`;
    tip.style.top = `${place.top + scrollY - tip.offsetHeight - 6}px`;
  });
  figure.addEventListener("pointerleave", leave);
}
