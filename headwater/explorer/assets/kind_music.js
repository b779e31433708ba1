// Music: a piano roll that plays.
import { el, svg } from "headwater/dom";
import { record } from "headwater/files";

const SIZES = { card: [190, 84], large: [420, 150] };

/** Read the notes: [start, length, pitch, velocity], times in hundredths of a second. */
export async function load(content) {
  const pieces = await record(content.file);
  const about = (place) => `${pieces[place].length} notes, ${seconds(pieces[place]).toFixed(1)} s`;
  return {
    hasSmall: false,
    text: about,
    /** Make a roll with its button; the small one is words. */
    show(place, size, name) {
      if (size === "small") return el("span", { class: "snippet", text: about(place) });
      return el("div", { class: "roll" }, roll(pieces[place], size, name), playButton(pieces[place], name));
    },
  };
}

function seconds(notes) {
  return Math.max(0, ...notes.map(([start, length]) => start + length)) / 100;
}

function roll(notes, size, name) {
  const [width, height] = SIZES[size];
  const pitches = notes.map((note) => note[2]);
  const [low, high] = [Math.min(...pitches, 60) - 1, Math.max(...pitches, 60) + 2];
  const end = Math.max(1, 100 * seconds(notes));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": name });
  for (const [start, length, pitch, velocity] of notes) {
    drawing.append(
      svg("rect", {
        class: "note", x: (start / end) * width, width: Math.max(1.5, (length / end) * width - 0.5),
        y: height - ((pitch - low + 1) / (high - low)) * height, height: Math.max(2, height / (high - low) - 0.5),
        opacity: 0.4 + (0.6 * velocity) / 127, rx: 1,
      }),
    );
  }
  return drawing;
}

let sounding = null; // what plays now: one piece at a time

function playButton(notes, name) {
  const button = el("button", { type: "button", on: { click: toggle } });
  rest();
  function rest() {
    button.textContent = "▶ Play";
    button.setAttribute("aria-label", `Play ${name}`);
  }
  function toggle() {
    const mine = sounding?.button === button;
    sounding?.stop();
    if (!mine) sounding = play(notes, button, rest);
  }
  return button;
}

function play(notes, button, rest) {
  const context = new AudioContext();
  for (const [start, length, pitch, velocity] of notes) {
    const [from, to] = [context.currentTime + 0.05 + start / 100, context.currentTime + 0.05 + (start + length) / 100];
    const oscillator = new OscillatorNode(context, { type: "triangle", frequency: 440 * 2 ** ((pitch - 69) / 12) });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime((0.22 * velocity) / 127, from);
    gain.gain.setTargetAtTime(0, to, 0.06);
    oscillator.connect(gain).connect(context.destination);
    oscillator.start(from);
    oscillator.stop(to + 0.4);
  }
  const timer = setTimeout(stop, 1000 * seconds(notes) + 600);
  function stop() {
    clearTimeout(timer);
    context.close();
    rest();
    sounding = null;
  }
  button.textContent = "■ Stop";
  button.setAttribute("aria-label", "Stop");
  return { button, stop };
}
