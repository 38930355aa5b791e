"""The data plane: Kafka records in micro-batches through one job, with durable state; it knows nothing of customers.

`app.build_app(settings, job)` wires it, `app.run_worker(app)` runs it, `app.pipeline` is what a job's surroundings use.
"""
