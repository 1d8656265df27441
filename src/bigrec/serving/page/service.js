// Requests to the service, and elements made of its answers. Titles are anybody's text: they become
// text nodes, never markup.

const unsafe = new RegExp(document.body.dataset.unsafe, "gu");
const KEY = "bigrec-key";

export const needsKey = () => document.body.dataset.keys === "asked";
export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (value) => sessionStorage.setItem(KEY, value);

/** Text with control and hidden characters as escapes. */
export function shown(text) {
  return String(text).replace(unsafe, (found) => {
    const code = found.codePointAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}

/** The answer to a request; its error has the service's message. */
export async function ask(method, path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (needsKey()) headers["X-API-Key"] = key();
  const options = { method, headers, signal };
  if (body !== undefined) options.body = JSON.stringify(body);
  const answer = await fetch(path, options);
  if (answer.status === 204) return null;
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message);
  return value;
}

/** An element with properties and children; texts become text nodes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A title or an id, set apart so that its direction changes nothing around it. */
export const named = (text) => make("bdi", { textContent: shown(text) });

/** A button whose name for screen readers also says which title it is about. */
export function button(text, title, action) {
  const name = `${text}: ${shown(title)}`;
  return make("button", { type: "button", textContent: text, ariaLabel: name, onclick: action });
}

export function tell(text) {
  document.getElementById("status").textContent = shown(text);
}

/** An action whose errors are told. */
export function told(action) {
  return async (...given) => {
    try {
      return await action(...given);
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message);
      return undefined;
    }
  };
}

/** An action that is run once its calls pause. */
export function paused(action, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), milliseconds);
  };
}
