// Package plot draws measurements as SVG: latency by percentile with a stretched tail, and bars with whiskers.
//
// It is pure. A drawing stands inside an HTML page, needs no script, no style sheet and nothing from elsewhere, and
// takes the page's text color, so that it fits a light page and a dark one. Names are escaped.
//
// It draws what it is given: what is worth drawing, and what it means, its callers know.
package plot
