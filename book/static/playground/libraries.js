/* Unpacks what book/browser_libraries.py brought. Scripts only, nothing fetched: works from disk. */
window.play = (() => {
  const brought = {};

  /* The files of a package by name, as bytes; rejects where the book was built without it. */
  function files(name) {
    brought[name] ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${document.documentElement.dataset.content_root}libraries/${name}.js`;
      script.onload = () => {
        const packed = window.libraries[name];
        if (Object.keys(packed).length) resolve(unpacked(packed));
        else reject(new Error(`this book was built without ${name}`));
      };
      script.onerror = () => reject(new Error(`${name} could not be loaded`));
      document.head.append(script);
    });
    return brought[name];
  }

  async function unpacked(packed) {
    const all = Object.entries(packed).map(async ([file, text]) => {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      return [file, new Uint8Array(await new Response(stream).arrayBuffer())];
    });
    return Object.fromEntries(await Promise.all(all));
  }

  const address = (bytes, type) => URL.createObjectURL(new Blob([bytes], { type }));
  const text = (bytes) => new TextDecoder().decode(bytes);

  /* Import a module of a package, those that it imports itself first. */
  function module(all, name) {
    const made = {};
    const addressOf = (file) => {
      made[file] ??= address(
        text(all[file]).replace(/from\s*(['"])\.\/([\w.]+)\1/g, (_, quote, other) => `from '${addressOf(other)}'`),
        "text/javascript",
      );
      return made[file];
    };
    return import(addressOf(name));
  }

  /* A Python with these modules, by their path. */
  async function python(sources) {
    const all = await files("pyodide");
    const { loadPyodide } = await module(all, "pyodide.mjs");
    const { default: createPyodideModule } = await module(all, "pyodide.asm.mjs");
    // Its program is looked for beside the index; behind the # of an address anything may stand.
    const index = `${address(all["pyodide.asm.wasm"], "application/wasm")}#/`;
    const made = await loadPyodide({
      indexURL: index,
      createPyodideModule,
      stdLibURL: address(all["python_stdlib.zip"], "application/zip"),
      lockFileContents: text(all["pyodide-lock.json"]),
    });
    for (const [name, source] of Object.entries(sources)) {
      const folders = name.split("/").slice(0, -1);
      folders.forEach((_, depth) => {
        const folder = folders.slice(0, depth + 1).join("/");
        made.FS.mkdirTree(folder);
        made.FS.writeFile(`${folder}/__init__.py`, "");
      });
      made.FS.writeFile(name, source);
    }
    return made;
  }

  return { python };
})();
