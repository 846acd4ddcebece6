const { flight } = require('waylog/flight');

module.exports = { contexts: [flight] };
