// Makes the types of every contract: src/<module>-<version>.ts from ../<module>/<version>/openapi.yaml. They are not kept in git, so they
// cannot be older than their contract.
import { readdir, rm, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const api = new URL("../", import.meta.url);
const src = new URL("src/", import.meta.url);

async function names(folder, pattern) {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries.filter((entry) => pattern.test(entry.name) && entry.isDirectory() === (folder !== src)).map((entry) => entry.name).sort();
}

for (const old of await names(src, /-v\d+\.ts$/)) {
  await rm(new URL(old, src));
}
for (const module of await names(api, /^[a-z0-9-]+$/)) {
  for (const version of await names(new URL(`${module}/`, api), /^v\d+$/)) {
    const contract = new URL(`${module}/${version}/openapi.yaml`, api);
    // Each schema is a type of its own name as well: User, beside components["schemas"]["User"].
    const types = await openapiTS(contract, { rootTypes: true, rootTypesNoSchemaPrefix: true });
    const head = `// Made from api/${module}/${version}/openapi.yaml by make typescript. Do not edit.\n\n`;
    await writeFile(new URL(`${module}-${version}.ts`, src), head + astToString(types));
  }
}
