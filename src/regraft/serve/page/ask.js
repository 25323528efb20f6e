"use strict";
// What the pages share: how the server is asked, and the token that it asks for.

const $ = id => document.getElementById(id);
const made = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });

// A token may come in the part of the address that no server and no other page gets to see.
const handed = new URLSearchParams(location.hash.slice(1)).get("token");
if (handed) {
  sessionStorage.setItem("token", handed);
  history.replaceState(null, "", location.pathname);
}

const ask = (path, options = {}) => {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  return fetch(path, { ...options, headers, cache: "no-store" });
};

const failure = async response => {
  try {
    return (await response.json()).error.messages.join("; ");
  } catch {
    return `the server answered ${response.status}`;
  }
};
