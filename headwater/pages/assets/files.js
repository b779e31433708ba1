// The files inside this page: base64 in script elements, deflated unless they are pictures.

const TYPES = {
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, float32: Float32Array,
};

function bytes(name) {
  const element = document.getElementById(`file:${name}`);
  const text = atob(element.textContent);
  element.remove(); // each file is read once
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

async function inflated(name) {
  const stream = new Blob([bytes(name)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** Read a record. */
export async function record(name) {
  return JSON.parse(new TextDecoder().decode(await inflated(name)));
}

/** Read an array from its reference: values, and shape. */
export async function array(reference) {
  const values = new TYPES[reference.type](await inflated(reference.array));
  return { values, shape: reference.shape };
}

/** Return the address of a picture. */
export function picture(name, type) {
  return URL.createObjectURL(new Blob([bytes(name)], { type }));
}
