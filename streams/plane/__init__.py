"""The data plane: Kafka records in micro-batches through one job, with durable state; it knows nothing of customers.

`runtime.App` is the Faust app, `runtime.run_worker` runs it, `App.pipeline` is what a job's surroundings use.
"""
