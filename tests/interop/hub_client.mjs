// What @huggingface/hub says of the registry at argv[3], as one line of JSON. argv[2] is where it is installed.
// FORGE_TOKEN is an access token of the registry.
const [modules, url, org] = process.argv.slice(2);
const accessToken = `hf_${process.env.FORGE_TOKEN}`;
const hub = await import(`${modules}/@huggingface/hub/dist/index.mjs`);
const hubUrl = `${url}/hf`;
const demo = { repo: `${org}/demo`, hubUrl };
const words = { repo: { type: "dataset", name: `${org}/words` }, hubUrl };

async function all(items) {
  const found = [];
  for await (const each of items) found.push(each);
  return found;
}

// The refusal's name, status and text.
async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return [error.constructor.name, error.statusCode ?? null, error.message];
  }
  return null;
}

const model = await hub.downloadFile({ ...demo, path: "model.bin", revision: "1.0.0" });
const part = new Uint8Array(await model.slice(512001, 512004).arrayBuffer());
const whole = Buffer.from(await model.arrayBuffer());
const { createHash } = await import("node:crypto");

console.log(JSON.stringify({
  files: (await all(hub.listFiles({ ...demo, recursive: true }))).map((each) => each.path),
  folder: (await all(hub.listFiles({ ...demo, revision: "1.0.0", path: "tokenizer", expand: true })))
    .map((each) => [each.path, each.size, each.lfs.oid, each.lastCommit.title]),
  exist: await Promise.all(["config.json", "tokenizer/vocab.txt", "nothing.txt", "../demo/config.json"]
    .map((path) => hub.fileExists({ ...demo, path, revision: "refs/tags/1.0.0" }))),
  sha256: createHash("sha256").update(whole).digest("hex"),
  part: [...part],
  empty: await (await hub.downloadFile({ ...demo, path: "empty.txt" })).text(),
  missing: await hub.downloadFile({ ...demo, path: "nothing.txt" }),
  card: await (await hub.downloadFile({ ...words, path: "README.md" })).text(),
  info: await hub.modelInfo({ name: demo.repo, hubUrl, additionalFields: ["sha", "tags", "filePaths"] }),
  old: (await hub.modelInfo({ name: demo.repo, hubUrl, revision: "1.0.0", additionalFields: ["sha"] })).sha,
  dataset: (await hub.datasetInfo({ name: words.repo.name, hubUrl })).name,
  models: (await all(hub.listModels({ hubUrl, search: { owner: org, query: "demo" }, additionalFields: ["filePaths"] })))
    .map((each) => [each.name, each.filePaths.length]),
  tasks: (await all(hub.listModels({ hubUrl, search: { task: "text-classification" } }))).map((each) => each.name),
  datasets: (await all(hub.listDatasets({ hubUrl }))).map((each) => each.name),
  spaces: await all(hub.listSpaces({ hubUrl })),
  commits: [(await all(hub.listCommits(demo))).map((each) => each.title), await hub.countCommits(demo)],
  repos: [await hub.repoExists(demo), await hub.repoExists({ ...demo, repo: `${org}/nobody` })],
  paths: (await hub.pathsInfo({ ...demo, paths: ["config.json", "tokenizer", "no"] })).map((each) => each.type),
  tensors: Object.keys((await hub.parseSafetensorsMetadata({ repo: `${org}/tiny`, hubUrl })).header).length,
  yanked: await (await hub.downloadFile({ ...demo, repo: `${org}/taken-back`, path: "version.txt" })).text(),
  held: [
    await hub.fileExists({ ...demo, repo: `${org}/held`, path: "config.json", revision: "1.0.0" }),
    await refused(hub.downloadFile({ ...demo, repo: `${org}/held`, path: "config.json" })),
    await refused(hub.downloadFile({ ...demo, repo: `${org}/held`, path: "config.json", raw: true, revision: "1.0.0" })),
  ],
  revision: await refused(hub.downloadFile({ ...demo, path: "config.json", revision: "9.9" })),
  nobody: await refused(hub.modelInfo({ name: `${org}/nobody`, hubUrl })),
  upload: await refused(hub.uploadFile({ ...demo, file: { path: "x", content: new Blob(["x"]) } })),
  branch: await refused(hub.createBranch({ ...demo, branch: "x" })),
  who: [(await hub.whoAmI({ hubUrl, accessToken })).name, (await hub.whoAmI({ hubUrl, accessToken })).auth.accessToken.role],
  named: await (await hub.downloadFile({ ...words, path: "README.md", accessToken })).text(),
  mistyped: await refused(hub.whoAmI({ hubUrl, accessToken: "hf_forge_x" })),
  bare: await refused(hub.whoAmI({ hubUrl, accessToken: "forge_x" })),
}));
