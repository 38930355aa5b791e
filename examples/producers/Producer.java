// Sends a purchase with Kafka's Java client: `java -cp 'kafka/libs/*' Producer.java localhost:9092`.

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Producer {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments.length > 1 ? arguments[1] : "purchases";
        String customer = "c-17850";
        // Begin event_id with the producer's name; a retry repeats it. Amounts are in pence.
        String event = "{\"event_id\":\"erp-000123\",\"customer_id\":\"" + customer + "\","
                + "\"event_time\":\"2026-03-01T09:30:00Z\",\"type\":\"purchase\",\"order_id\":\"o-1003\","
                + "\"amount_minor\":18000,\"currency\":\"GBP\"}";
        // The default partitioner is Kafka's murmur2. Both serializers are those of text: no schema registry.
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0], "acks", "all");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            var record = new ProducerRecord<>(topic, customer, event);
            record.headers().add("regulars-producer", "erp".getBytes(UTF_8)); // dead letters are grouped by it
            producer.send(record).get();
        }
    }
}
