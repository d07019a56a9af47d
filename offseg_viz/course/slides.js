"use strict";
const slides = [...document.querySelectorAll("section")];
const main = document.querySelector("main");
let now = 0;

// Text that is too long for its slide becomes smaller, down to a size that the last row can still read.
function fit(slide) {
  const body = slide.querySelector(".body");
  for (let size = 26; size > 15 && body.scrollHeight > body.clientHeight + 1; size -= 1) {
    slide.style.fontSize = `${size - 1}px`;
  }
  for (const pre of slide.querySelectorAll("pre")) {
    const size = parseFloat(getComputedStyle(pre).fontSize);
    if (pre.scrollWidth > pre.clientWidth) pre.style.fontSize = `${Math.floor(size * pre.clientWidth / pre.scrollWidth)}px`;
  }
}

function show(number, seen) {
  slides[now].classList.remove("now");
  now = Math.max(0, Math.min(slides.length - 1, number));
  slides[now].classList.add("now");
  for (const part of slides[now].querySelectorAll(".waits")) part.classList.toggle("seen", seen);
  document.getElementById("page").textContent = `${now + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${now + 1}`);
}

function on() {
  const waiting = slides[now].querySelector(".waits:not(.seen)");
  if (waiting) waiting.classList.add("seen");
  else if (now + 1 < slides.length) show(now + 1, false);
}

function back() {
  const seen = slides[now].querySelectorAll(".waits.seen");
  if (seen.length) seen[seen.length - 1].classList.remove("seen");
  else if (now > 0) show(now - 1, true);
}

function scale() {
  const by = Math.min(innerWidth / 1280, innerHeight / 720);
  main.style.transform = `translate(${(innerWidth - 1280 * by) / 2}px, ${(innerHeight - 720 * by) / 2}px) scale(${by})`;
}

function fromAddress() {
  return (parseInt(location.hash.slice(1), 10) || 1) - 1;
}

const keys = {
  ArrowRight: on, ArrowDown: on, PageDown: on, " ": on,
  ArrowLeft: back, ArrowUp: back, PageUp: back,
  Home: () => show(0, false), End: () => show(slides.length - 1, true),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
  if (event.key === " " && event.target instanceof HTMLButtonElement) return;
  event.preventDefault();
  keys[event.key]();
});
document.getElementById("on").addEventListener("click", on);
document.getElementById("back").addEventListener("click", back);
addEventListener("hashchange", () => show(fromAddress(), false));
addEventListener("resize", scale);
addEventListener("beforeprint", () => { main.style.transform = ""; });
addEventListener("afterprint", scale);

slides.forEach(fit);
document.body.classList.add("turning");
show(fromAddress(), false);
scale();
document.body.dataset.ready = "true";
