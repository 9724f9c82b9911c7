// Hold exchanges against the published definitions of the API, by Microsoft's validator (oav).
//
//   node judge.js SWAGGERS EXCHANGES.json
//
// Prints a line for each exchange that breaks the definitions, and last how many were judged. The
// addresses of operations, refusals, and what is in none of the definitions are not judged.
const { LiveValidator } = require('oav');
const fs = require('fs');
const path = require('path');

async function main(swaggers, file) {
  const validator = new LiveValidator({
    directory: path.resolve(swaggers),
    swaggerPathsPattern: ['**/*.json'],
    excludedSwaggerPathsPattern: ['**/examples/**', '**/common-types/**'],
    isPathCaseSensitive: false,
    enableRoundTripValidator: false,
    git: { shouldClone: false, url: 'unused', branch: 'unused' },
  }, () => {});
  await validator.initialize();
  let judged = 0;
  for (const { request, response } of JSON.parse(fs.readFileSync(file))) {
    if (response.status >= 400 || /\/(operations|operationresults|diskoperations)\//i.test(request.url)) continue;
    const { requestValidationResult: asked, responseValidationResult: answered } =
      await validator.validateLiveRequestResponse({
        liveRequest: {
          method: request.method,
          url: request.url,
          query: Object.fromEntries(new URL(request.url).searchParams),
          headers: request.headers,
          body: request.body,
        },
        liveResponse: { statusCode: String(response.status), headers: response.headers, body: response.body },
      });
    const operation = asked.operationInfo && asked.operationInfo.operationId;
    if (!operation || operation === 'unknownOperationId') continue;
    judged += 1;
    for (const error of [...asked.errors, ...answered.errors]) {
      console.log(request.method, response.status, operation, error.code, error.message, error.pathsInPayload || '');
    }
  }
  console.log('judged', judged);
}

main(...process.argv.slice(2)).catch((error) => { console.log(String(error)); process.exit(3); });
