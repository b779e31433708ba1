// Kinds of samples by name: a row each. A module has load(content) -> {show, text, small}.
import * as images from "headwater/kind_images";
import * as music from "headwater/kind_music";
import * as text from "headwater/kind_text";

const KINDS = { images, music, text };

/** Read the samples of a split: show(place, options) makes an element, text(place) is for search. */
export async function loadKind(name, content) {
  return KINDS[name].load(content);
}
