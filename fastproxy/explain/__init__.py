"""`fastproxy explain`: what the proxy would do with a request, step by step, and the one change that would fix it.

The request goes through the proxy's own parts, built from the configuration as a worker builds them: parser, routes,
filters, router (`rehearsal`). An observer writes down what the `jwt_authn` filter does (`trace`); the answer is the
answer. Keys come from where the proxy has them (`keybook`). What follows from it in words is made afterwards
(`checks`, `findings`, `report`, `text`) and decides nothing.
"""
